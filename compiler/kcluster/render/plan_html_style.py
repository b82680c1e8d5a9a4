"""What a page looks like and the little that it does: constants, so that a page needs nothing but itself."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #17202a; --soft: #5b6774; --rule: #dfe3e8; --grid: #edf0f3;
  --accent: #0b62d6; --good: #17803d; --bad: #c62828; --unsure: #9a6200; --faint: #9aa5b1; --room: #eef1f4;
  --c1: #2a6fdb; --c2: #1c9a86; --c3: #e0912f; --c4: #8a63d2; --c5: #d2527f; --c6: #6b8e23; --c7: #8795a5; --c8: #b4764a; }
@media (prefers-color-scheme: dark) { :root {
  --page: #101418; --card: #181e24; --ink: #e7ebf0; --soft: #9eabb8; --rule: #2c353e; --grid: #232b33;
  --accent: #69a8ff; --good: #56c77b; --bad: #ff7b72; --unsure: #e3b341; --faint: #66727f; --room: #242c34;
  --c1: #5a96f2; --c2: #35b8a3; --c3: #eca650; --c4: #a98bea; --c5: #e97ba1; --c6: #93b84a; --c7: #8c9aa9; --c8: #cb9169; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 28px 20px 60px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main, header, footer { max-width: 1360px; margin: 0 auto; }
h1 { font-size: 22px; margin: 0 0 4px; overflow-wrap: anywhere; } h2 { font-size: 19px; margin: 34px 0 6px; overflow-wrap: anywhere; }
h3 { font-size: 15px; margin: 0 0 8px; } p { margin: 0 0 10px; }
.soft, footer { color: var(--soft); } footer { margin-top: 36px; font-size: 13px; }
nav ul { list-style: none; padding: 0; margin: 8px 0 0; display: flex; flex-wrap: wrap; gap: 6px 18px; } a { color: var(--accent); }
.grid { display: grid; } .cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 500px), 1fr)); gap: 16px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px; margin: 0; min-width: 0; }
.wide { grid-column: 1 / -1; }
.facts { display: flex; flex-wrap: wrap; gap: 10px; list-style: none; padding: 0; margin: 14px 0 16px; }
.facts li { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 8px 14px; min-width: 132px; }
.facts b { display: block; font-size: 20px; line-height: 1.3; font-weight: 650; } .facts span { color: var(--soft); font-size: 13px; }
.pill { display: inline-block; border-radius: 999px; padding: 0 10px; font-size: 13px; font-weight: 600; border: 1px solid currentColor; }
.yes { color: var(--good); } .no, .error { color: var(--bad); } .uncertain, .warning { color: var(--unsure); } .note { color: var(--soft); }
svg { display: block; width: 100%; height: auto; overflow: visible; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
svg .grid { stroke: var(--grid); stroke-width: 1; } svg .axis { fill: none; stroke: var(--faint); }
svg .tick, svg .name { fill: var(--soft); } svg .name { font-size: 12.5px; }
svg .label, svg .value { fill: var(--soft); } svg .label.chosen { fill: var(--ink); font-weight: 650; } svg .label.asked { fill: var(--ink); }
svg text.label { paint-order: stroke; stroke: var(--card); stroke-width: 3px; stroke-linejoin: round; }
svg line.bound { stroke: var(--unsure); stroke-dasharray: 5 4; stroke-width: 1.5; } svg text.bound { fill: var(--unsure); }
.mark:focus { outline: none; } .mark:focus-visible > :not(title) { stroke: var(--ink); stroke-width: 2; }
.chosen .dot { fill: var(--accent); } .chosen .halo { fill: var(--accent); opacity: .22; } .chosen .range { stroke: var(--accent); stroke-width: 1.6; opacity: .65; fill: none; }
.close .dot { fill: var(--card); stroke: var(--accent); stroke-width: 1.8; } .rejected .cross { stroke: var(--faint); stroke-width: 2; fill: none; } .target { fill: transparent; }
.kv .curve { fill: none; stroke-width: 2.4; } .kv .band { opacity: .16; stroke: none; } .first .curve { stroke: var(--c1); } .first .band { fill: var(--c1); }
.second .curve { stroke: var(--c2); stroke-dasharray: 7 4; } .second .band { fill: var(--c2); } .asked { fill: var(--unsure); }
.room { fill: var(--room); } svg line.limit { stroke: var(--ink); stroke-width: 2; } .bar:not(.first) .mark { opacity: .62; }
.m-weights, .t-weights { fill: var(--c1); background: var(--c1); } .m-kv, .t-kv { fill: var(--c2); background: var(--c2); }
.m-activation, .t-prefill { fill: var(--c3); background: var(--c3); } .m-libraries, .t-allreduce { fill: var(--c4); background: var(--c4); }
.m-graphs, .t-alltoall { fill: var(--c5); background: var(--c5); } .t-pipeline { fill: var(--c6); background: var(--c6); }
.t-layers { fill: var(--c7); background: var(--c7); } .t-step { fill: var(--c8); background: var(--c8); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; list-style: none; padding: 0; margin: 8px 0 4px; font-size: 13px; color: var(--soft); }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: -1px; }
.key.limit { width: 2px; background: var(--ink); border-radius: 0; } .key.k-chosen { background: var(--accent); border-radius: 50%; }
.key.k-close { border: 2px solid var(--accent); border-radius: 50%; } .key.k-rejected { background: none; } .key.k-rejected::before { content: "\\00d7"; font-size: 17px; line-height: 12px; color: var(--faint); }
.key.k-asked { background: var(--unsure); transform: rotate(45deg) scale(.8); border-radius: 0; } .key.k-range { background: var(--c1); opacity: .3; }
.scroll { overflow-x: auto; } .scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; } caption { text-align: left; color: var(--soft); font-size: 13px; padding: 0 0 4px; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--rule); vertical-align: top; } th { font-weight: 600; }
tbody th { font-weight: 500; } thead th { color: var(--soft); font-size: 13px; } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; } tr.picked > * { background: color-mix(in srgb, var(--accent) 10%, transparent); }
.long { max-height: 460px; overflow: auto; } .long thead th { position: sticky; top: 0; background: var(--card); } .why { min-width: 260px; } .cut th { white-space: nowrap; }
details { margin-top: 8px; font-size: 14px; } summary { cursor: pointer; color: var(--soft); font-size: 13px; }
.findings { list-style: none; margin: 0; padding: 0; } .findings li { padding: 7px 0; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; } .findings li:last-child { border: 0; }
code { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; }
#tip { position: fixed; z-index: 9; max-width: 340px; padding: 7px 11px; border-radius: 7px; background: var(--ink); color: var(--page); font-size: 13px; pointer-events: none; }
#tip[hidden] { display: none; }
@media print { body { background: none; padding: 0; } .card { break-inside: avoid; } .long { max-height: none; } }
"""

SCRIPT: Final = """
(function () {
  var tip = document.createElement("div");
  tip.id = "tip"; tip.hidden = true; tip.setAttribute("role", "status");
  document.body.appendChild(tip);
  function show(mark, x, y) {
    tip.textContent = mark.getAttribute("data-tip");
    tip.hidden = false;
    var box = tip.getBoundingClientRect();
    tip.style.left = Math.max(6, Math.min(x + 14, innerWidth - box.width - 6)) + "px";
    tip.style.top = (y + 18 + box.height > innerHeight ? y - box.height - 12 : y + 18) + "px";
  }
  function hide() { tip.hidden = true; }
  document.querySelectorAll("[data-tip]").forEach(function (mark) {
    var title = mark.querySelector("title");
    if (title) { mark.setAttribute("aria-label", title.textContent); title.remove(); }
    mark.addEventListener("mousemove", function (event) { show(mark, event.clientX, event.clientY); });
    mark.addEventListener("mouseleave", hide);
    mark.addEventListener("focus", function () {
      var box = mark.getBoundingClientRect();
      show(mark, box.left + box.width / 2, box.top + box.height / 2);
    });
    mark.addEventListener("blur", hide);
  });
  document.addEventListener("keydown", function (event) { if (event.key === "Escape") { hide(); } });
})();
"""
