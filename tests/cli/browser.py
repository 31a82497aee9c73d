"""A page opened in a real browser: the headless Chromium that the wheel of kaleido 0.2.1 brings with it.

Nothing else needs to be on the machine. kaleido runs a script of its caller's in Chromium and hands back what it
returns, where it expects a library for charts; here the script puts the page into a frame and measures it.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from subprocess import PIPE, Popen
from typing import Any

from kaleido.scopes.base import BaseScope

_SECONDS = 120
_SCRIPT = r"""
window.Plotly = {
  version: "2.0.0",
  toImage: figure => figure.layout.pages.reduce(
    (before, asked) => before.then(all => open(asked).then(seen => [...all, seen])), Promise.resolve([])
  ).then(JSON.stringify),
};
const open = asked => new Promise(resolve => {
    const frame = document.createElement("iframe"), errors = [];
    frame.style.cssText = `border:0;position:absolute;left:0;top:0;width:${asked.width}px;height:800px`;
    document.body.appendChild(frame);
    const page = frame.contentWindow;
    frame.onload = () => {
      const root = frame.contentDocument;
      const images = [...root.querySelectorAll("figure img")];
      const shown = image => image.decode().catch(error => errors.push(`${image.alt}: ${error}`));
      Promise.all(images.map(shown)).then(() => {
        const wide = [...root.querySelectorAll("body *")].filter(element => {
          const box = element.getBoundingClientRect();
          return box.width > 0 && (box.right > asked.width + 0.5 || box.left < -0.5
            || element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== "inline");
        });
        const seen = {
          browser: navigator.userAgent,
          errors: errors,
          width: root.documentElement.scrollWidth,
          overflowing: wide.map(element => element.outerHTML.slice(0, 200)),
          requests: page.performance.getEntriesByType("resource").map(entry => entry.name)
            .filter(name => !name.startsWith("data:")),
          figures: images.map(image => ({
            id: image.closest("figure").id, natural: image.naturalWidth, width: image.clientWidth,
            height: image.clientHeight, left: Math.round(image.getBoundingClientRect().left),
          })),
          text: root.body.innerText,
        };
        frame.remove();
        resolve(seen);
      });
    };
    const watch = "<script>" +
      "console.error = (...all) => parent.reported.push(all.join(' '));" +
      "addEventListener('error', event => parent.reported.push(event.message || event.target.outerHTML), true);" +
      "addEventListener('unhandledrejection', event => parent.reported.push(String(event.reason)));" +
      "addEventListener('securitypolicyviolation', event => parent.reported.push(event.blockedURI));" +
      "</scr" + "ipt>";
    window.reported = errors;
    frame.srcdoc = asked.html.replace("<head>", "<head>" + watch);
});
"""


def measure(pages: Sequence[tuple[str, int]], folder: Path) -> list[dict[str, Any]]:
    """Open pages in one browser, one after the other.

    Args:
        pages: of HTML, each with the width in pixels to open it at.
        folder: for the script.

    Returns:
        For each page `browser`, its name; `errors` on the console; `width` of the whole page, and what is
        `overflowing`; `requests` that were made beyond the page; `figures` with their sizes; `text` that can be read.
    """
    script = folder / "measure.js"
    script.write_text(_SCRIPT, "utf-8")
    options = ("--disable-gpu", "--disable-dev-shm-usage", "--disable-breakpad", "--no-sandbox")  # root can have none
    command = [BaseScope.executable_path(), "plotly", f"--plotlyjs={script.as_uri()}", *options]
    layout = {"pages": [{"html": page, "width": width} for page, width in pages]}
    size = {"width": max(width for _, width in pages), "height": 800, "scale": 1}
    request = json.dumps({"data": {"data": [], "layout": layout}, "format": "svg", **size}) + "\n"
    process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, start_new_session=True)
    try:
        out, err = process.communicate(request, timeout=_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, SIGKILL)  # the browser is a process of its own that outlives what started it
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["code"] for answer in answers] == [0, 0], (answers, err)
    return json.loads(answers[1]["result"])
