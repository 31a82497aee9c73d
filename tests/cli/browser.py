"""A page opened in a real browser: the headless Chromium that the wheel of kaleido 0.2.1 brings with it.

Nothing else needs to be on the machine. kaleido runs a script of its caller's in Chromium and hands back what it
returns, where it expects a library for charts; here the script puts the page into a frame and measures it.
"""

import json
from pathlib import Path
from subprocess import run
from typing import Any

from kaleido.scopes.base import BaseScope

_SCRIPT = r"""
window.Plotly = {
  version: "2.0.0",
  toImage: figure => new Promise(resolve => {
    const asked = figure.layout, frame = document.createElement("iframe"), errors = [];
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
        resolve(JSON.stringify({
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
        }));
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
  }),
};
"""


def measure(page: str, width: int, folder: Path) -> dict[str, Any]:
    """Open a page at a width in pixels.

    Args:
        page: of HTML.
        width: in pixels.
        folder: for the script.

    Returns:
        `browser`, its name; `errors` on the console; `width` of the whole page, and what is `overflowing`; `requests`
        that were made beyond the page; `metrics` with their sizes; `text` that can be read.
    """
    script = folder / "measure.js"
    script.write_text(_SCRIPT, "utf-8")
    options = ("--disable-gpu", "--disable-dev-shm-usage", "--disable-breakpad", "--no-sandbox")  # root can have none
    command = [BaseScope.executable_path(), "plotly", f"--plotlyjs={script.as_uri()}", *options]
    layout = {"html": page, "width": width}
    asked = {"data": {"data": [], "layout": layout}, "format": "svg", "width": width, "height": 800, "scale": 1}
    ended = run(command, input=json.dumps(asked) + "\n", capture_output=True, text=True, timeout=120, check=False)
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [answer["code"] for answer in answers] == [0, 0], (answers, ended.stderr)
    return json.loads(answers[1]["result"])
