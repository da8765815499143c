"""The look of the trail's picture: one style sheet, light and dark, without anything to fetch.

Four levels of crowd have a colour and a shape each, so that neither is needed alone. All text has a
contrast of at least 4.5 to 1 on its ground in both themes (WCAG 2.2, 1.4.3).
"""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1d2429; --soft: #566068; --line: #d9d6cd;
  --rail: #ece9e1; --alone: #b3261e; --few: #a85400; --group: #2f6690; --crowd: #2e7048;
  --link: #6a3fa0; --trace: #8a5a00; --mark: #fff4e5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181b; --card: #1c2226; --ink: #e9e6df; --soft: #a9b1b6; --line: #364047;
    --rail: #262e33; --alone: #ff8a80; --few: #ffb561; --group: #8cc4ee; --crowd: #86d3a2;
    --link: #c9a8f5; --trace: #e9c46a; --mark: #33291a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -.01em; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .25rem; }
h3 { font-size: 1.02rem; margin: 0; }
p { margin: .3rem 0 .8rem; max-width: 74ch; }
.soft { color: var(--soft); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: .9rem;
  margin: 1.5rem 0 0; padding: 0; list-style: none; }
.facts li { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: .85rem 1rem; }
.facts b { display: block; font-size: 1.65rem; line-height: 1.15; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.facts span { color: var(--soft); font-size: .9rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1rem 1.1rem; margin: .9rem 0; }
.wide { overflow-x: auto; }
.wide > svg { min-width: 720px; display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, "Segoe UI", Arial, sans-serif; }
svg text.lane { fill: var(--ink); font-size: 13px; font-weight: 600; }
.grid { stroke: var(--line); stroke-width: 1; }
.rail { stroke: var(--line); stroke-width: 2; }
.arc { fill: none; stroke: var(--link); stroke-linecap: round; }
.arc.weak { stroke-dasharray: 1 5; }
.trace { stroke: var(--trace); stroke-width: 1.6; }
.beam { stroke: var(--trace); stroke-width: 1; stroke-dasharray: 2 3; }
.mark { stroke: var(--card); stroke-width: 1.2; }
.alone { --hue: var(--alone); } .few { --hue: var(--few); }
.group { --hue: var(--group); } .crowd { --hue: var(--crowd); }
.unknown { --hue: var(--soft); }
.mark, .fill { fill: var(--hue); }
.key { display: flex; flex-wrap: wrap; gap: .35rem 1.3rem; margin: .6rem 0 0; padding: 0;
  list-style: none; font-size: .88rem; color: var(--soft); }
.key svg { width: 16px; height: 16px; vertical-align: -3px; margin-right: .35rem; }
.head { display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: baseline; }
.badge { color: var(--hue); border: 1.5px solid currentColor; border-radius: 99px;
  padding: .02rem .65rem; font-size: .85rem; font-weight: 600; white-space: nowrap; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 .2rem; font-size: .92rem; }
th, td { text-align: left; padding: .22rem .6rem .22rem 0; vertical-align: middle; }
th { font-weight: 400; }
thead th { color: var(--soft); font-size: .82rem; border-bottom: 1px solid var(--line); }
tr.title th { color: var(--soft); font-size: .82rem; padding-top: .8rem; }
td.number, th.number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
td.bar { width: 40%; min-width: 150px; }
td.bar svg { display: block; width: 100%; height: 15px; }
td.bar .ground { fill: var(--rail); }
td.bar .whisker { stroke: var(--ink); stroke-width: 1.5; vector-effect: non-scaling-stroke;
  opacity: .65; }
td.bar .grid { vector-effect: non-scaling-stroke; }
.axis { position: relative; display: block; height: 1.2em; }
.axis span { position: absolute; transform: translateX(-50%); }
.axis span:first-child { transform: none; }
.plus { color: var(--soft); }
.note { border-left: 4px solid var(--few); background: var(--mark); padding: .55rem .9rem;
  border-radius: 0 8px 8px 0; max-width: none; }
ul.list { list-style: none; padding: 0; margin: .3rem 0; }
ul.list li { display: grid; grid-template-columns: 5.2rem 1fr; gap: .9rem; padding: .5rem 0;
  border-top: 1px solid var(--line); }
ul.list li:first-child { border-top: 0; }
.card > p:last-child, .card > ul:last-child { margin-bottom: 0; }
.chance { font-weight: 650; font-variant-numeric: tabular-nums; color: var(--link); }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--soft); }
summary:focus-visible { outline: 3px solid var(--link); outline-offset: 3px; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem;
  color: var(--soft); font-size: .88rem; }
@media (max-width: 640px) { td.bar, th.bar { display: none; }
  ul.list li { grid-template-columns: 1fr; gap: .1rem; } }
@media print { :root { --paper: #fff; } .card { break-inside: avoid; } }
""".strip()
