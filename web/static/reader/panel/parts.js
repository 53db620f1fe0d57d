/* What the panel's parts are made of. */

import { element } from "../ui.js";

/** A group with a heading. */
export function group(name, title, ...nodes) {
  const heading = element("legend", {}, element("h3", { textContent: title }));
  return element("fieldset", { "data-part": name }, heading, ...nodes);
}

export const hint = (text, properties = {}) => element("p", { textContent: text, ...properties });

export function button(id, text, onclick, properties = {}) {
  return element("button", { id, type: "button", textContent: text, onclick, ...properties });
}

/** A checkbox or radio button with its label. */
export function choice(type, id, text, properties = {}) {
  const input = element("input", { type, id, ...properties });
  return { input, label: element("label", { className: "choice" }, input, text) };
}
