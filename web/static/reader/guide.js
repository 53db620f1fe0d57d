/* On iPhones and iPads: how to put the site on the home screen, where notifications begin. */

import { element, openDialog } from "./ui.js";

let open;

/**
 * Shows the steps, beside the page. `called` by the reader, it takes the focus, and closing it is
 * no answer; else it is a "No thanks", and it stays away as long as the prompt would.
 */
export async function showGuide(reader, { called = false } = {}) {
  if (open?.host.isConnected) {
    if (!called) return;
    open.close();
  }
  const texts = { ...(await reader.texts()), ...(await reader.texts("panel")) };
  const dialog = (open = openDialog("notifier-guide", { texts, css: STYLE }));
  const leave = () => {
    dialog.close();
    if (!called) reader.decline();
  };
  dialog.onEscape = leave;
  const steps = [
    [texts.guideShare, SHARE],
    [texts.guideAdd, ADD],
    [texts.guideOpen, HOME],
    [texts.guideYes, ALLOW],
  ];
  dialog.show(
    element("h2", { id: "title", textContent: texts.guideTitle }),
    element("p", { textContent: texts.guideText }),
    element(
      "ol",
      {},
      ...steps.map(([text, shapes]) =>
        element("li", {}, picture(shapes), element("span", { textContent: text })),
      ),
    ),
    element("p", { textContent: texts.guideNew }),
    element(
      "div",
      { className: "buttons" },
      element("button", {
        type: "button",
        textContent: called ? texts.close : texts.decline,
        onclick: leave,
        "data-action": "close",
      }),
    ),
  );
  dialog.announce(texts.guideTitle);
  reader.emit("prompted");
  if (called) dialog.card.focus();
}

// ---- Pictures: each a list of shapes in a square of 48, drawn in the colours of the text.

const LINE = {
  fill: "none",
  stroke: "currentColor",
  "stroke-width": 2.5,
  "stroke-linecap": "round",
  "stroke-linejoin": "round",
};
const SHARE = [
  ["path", { d: "M17 20h-4v21h22V20h-4", ...LINE }],
  ["path", { d: "M24 31V8M17 14l7-7 7 7", ...LINE, class: "accent" }],
];
const ADD = [
  ["rect", { x: 9, y: 9, width: 30, height: 30, rx: 7, ...LINE }],
  ["path", { d: "M24 17v14M17 24h14", ...LINE, class: "accent" }],
];
const HOME = [
  ["rect", { x: 11, y: 4, width: 26, height: 40, rx: 6, ...LINE }],
  ["path", { d: "M21 39h6", ...LINE }],
  ...[
    [16, 11],
    [27, 11],
    [16, 22],
  ].map(([x, y]) => ["rect", { x, y, width: 6, height: 6, rx: 1.5, class: "faint" }]),
  ["rect", { x: 25, y: 20, width: 10, height: 10, rx: 2.5, class: "filled" }],
];
const ALLOW = [
  ["path", { d: "M12 35h24c-3-3-4-6-4-13 0-6-3-10-8-10s-8 4-8 10c0 7-1 10-4 13z", ...LINE }],
  ["path", { d: "M21 40c1.5 2 4.5 2 6 0", ...LINE }],
  ["circle", { cx: 34, cy: 13, r: 7, class: "filled" }],
];

function picture(shapes) {
  const svg = shape("svg", { viewBox: "0 0 48 48", width: 44, height: 44, "aria-hidden": "true" });
  svg.append(...shapes.map(([name, attributes]) => shape(name, attributes)));
  return svg;
}

function shape(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const STYLE = `
ol { margin: .9rem 0 .4rem; padding: 0; list-style: none; counter-reset: step; }
li { display: flex; align-items: center; gap: .9rem; padding: .35rem 0; counter-increment: step; }
li::before { content: counter(step); color: var(--faint); font-weight: 600; min-width: 1ch; }
svg { flex: none; }
.accent { stroke: var(--accent); }
.filled { fill: var(--accent); }
.faint { fill: currentColor; opacity: .3; }
`;
