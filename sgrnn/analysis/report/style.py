"""How the page looks: one column on a phone, two on a screen, black on white on paper."""

CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1a1a1a; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 82rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; overflow-wrap: anywhere; }
p, dl { margin: .25rem 0; }
dt { font-weight: 600; margin-top: .75rem; overflow-wrap: anywhere; }
dd { margin: 0 0 .1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
td:first-child { overflow-wrap: anywhere; white-space: normal; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; break-inside: avoid; min-width: 0; }
figure img { display: block; width: 100%; height: auto; }
figure p { font-size: .85rem; color: #444; }
figcaption { font-weight: 600; min-height: 1.5em; }
blockquote, pre { margin: .25rem 0; padding: .75rem; background: #f5f5f5; white-space: pre-wrap;
  overflow-wrap: anywhere; font: .8rem/1.45 ui-monospace, monospace; }
@media screen and (max-width: 56rem) {
  thead { display: none; }
  tr { display: block; padding: .5rem 0; border-bottom: 2px solid #999; }
  td, td:nth-child(-n+2) { display: flex; justify-content: space-between; gap: 1rem; text-align: right; border: 0;
    padding: .1rem 0; }
  td::before { content: attr(data-label); color: #555; flex: none; white-space: nowrap; }
}
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  table { font-size: 8pt; }
  th, td { padding: .15rem .3rem; }
  .figures { grid-template-columns: 1fr 1fr; gap: .75rem; }
  h2, h3 { break-after: avoid; }
  blockquote, pre { background: none; border-left: 2px solid #999; font-size: 7.5pt; }
}
"""
