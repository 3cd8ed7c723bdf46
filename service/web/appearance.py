"""How the operator's page looks, and the little that it does by itself.

Colours have a contrast of at least 4.5 to 1 with what is behind them, in both schemes.
"""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --quiet: #57606a;
  --line: #d0d7de; --card: #f6f8fa; --accent: #0b62c4; --alarm: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --quiet: #9aa4af; --line: #30363d; --card: #161b22;
    --accent: #6cb0ff; --alarm: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.45 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); }
header, main { max-width: 80rem; margin: 0 auto; padding: .5rem 1rem; }
header { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: baseline; }
h1 { font-size: 1.4rem; margin: .3rem 0; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .5rem; }
p { margin: .3rem 0; } a { color: var(--accent); }
.skip { position: absolute; left: -100rem; } .skip:focus { left: 1rem; top: .5rem; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.quiet { color: var(--quiet); font-size: .9em; font-weight: normal; }
.alarm { color: var(--alarm); font-weight: bold; }
button { font: inherit; padding: .25rem .9rem; color: inherit; background: var(--card);
  border: 1px solid var(--quiet); border-radius: .4rem; }
dl, .curves { display: grid; gap: .6rem; margin: 0;
  grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
dl div, figure { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .5rem .75rem; margin: 0; }
dt { color: var(--quiet); font-size: .9em; } dd { margin: 0; font-size: 1.15rem; }
figcaption b { white-space: nowrap; }
figcaption { display: flex; justify-content: space-between; gap: .5rem; }
svg { display: block; width: 100%; height: 3rem; }
polyline { fill: none; stroke: var(--accent); stroke-width: 1.5;
  vector-effect: non-scaling-stroke; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .75rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; } thead th { background: var(--card); }
tbody th { font-weight: normal; max-width: 28rem; overflow: hidden; text-overflow: ellipsis; }
@media (min-width: 64rem) { dl, .curves { grid-template-columns: repeat(4, 1fr); } }
@media (max-width: 40rem) { tbody th { max-width: 12rem; } th, td { padding: .35rem .5rem; } }
progress { width: 7rem; accent-color: var(--accent); vertical-align: middle; }
@media (prefers-reduced-motion: reduce) { * { transition: none; } }
"""

SCRIPT: Final = """
"use strict";
(() => {
  const button = document.getElementById("pause");
  let paused = false;
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
  });
  const scrolled = () => [...document.querySelectorAll(".scroll")].map((one) =>
    [one.getAttribute("aria-label"), one.scrollLeft, one === document.activeElement]);
  const replace = (next) => {
    const places = scrolled();
    document.getElementById("main").replaceChildren(...next.getElementById("main").childNodes);
    for (const [name, left, focused] of places) {
      const one = document.querySelector(`.scroll[aria-label="${name}"]`);
      if (!one) continue;
      one.scrollLeft = left;
      if (focused) one.focus({ preventScroll: true });
    }
    for (const name of ["now", "at"]) {
      const [old, found] = [document.getElementById(name), next.getElementById(name)];
      if (old.textContent !== found.textContent) old.textContent = found.textContent;
    }
  };
  const refresh = async () => {
    if (!paused && !document.hidden) {
      try {
        const answer = await fetch("/figures", { cache: "no-store" });
        if (!answer.ok) throw new Error(String(answer.status));
        replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
      } catch {
        document.getElementById("now").textContent = "This frontend gives no answer.";
      }
    }
    setTimeout(refresh, 5000);
  };
  setTimeout(refresh, 5000);
})();
"""
