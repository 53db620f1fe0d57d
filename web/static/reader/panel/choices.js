/* What the service keeps of a reader's choices: how much, of what, and for how long nothing. */

import { element } from "../ui.js";
import { button, choice, group, hint } from "./parts.js";

export function levelPart({ texts, save, updating }) {
  const levels = ["biggest", "breaking", "updates"].map((level) => {
    const text = texts[`level${level[0].toUpperCase()}${level.slice(1)}`];
    const onchange = () => save({ level });
    return { level, ...choice("radio", `level-${level}`, text, { name: "level", onchange }) };
  });
  updating((held) => levels.forEach(({ level, input }) => (input.checked = level === held.level)));
  return group("level", texts.levelTitle, ...levels.map(({ label }) => label));
}

export function sectionsPart({ texts, config, save, say, updating }) {
  const boxes = config.sections.map(({ slug, name }) => ({
    slug,
    ...choice("checkbox", `section-${slug}`, name, { onchange: change }),
  }));

  function change({ target }) {
    const chosen = boxes.filter(({ input }) => input.checked).map(({ slug }) => slug);
    if (!chosen.length) {
      target.checked = true;
      return say(texts.sectionsOne);
    }
    // None stands for all, those to come included.
    save({ sections: chosen.length === boxes.length ? [] : chosen });
  }

  updating(({ sections }) => {
    for (const { slug, input } of boxes) {
      input.checked = !sections.length || sections.includes(slug);
    }
  });
  const choices = element("div", { className: "choices" }, ...boxes.map(({ label }) => label));
  const part = group("sections", texts.sectionsTitle, choices, hint(texts.sectionsHint));
  part.hidden = !boxes.length;
  return part;
}

export function stopPart({ texts, save, stop, time, updating }) {
  const state = hint("", { hidden: true });
  const goOn = button("go-on", texts.goOn, () => save({ pause: "off" }), { hidden: true });
  const pauses = [
    button("pause-day", texts.pauseDay, () => save({ pause: "day" })),
    button("pause-week", texts.pauseWeek, () => save({ pause: "week" })),
  ];
  updating(({ paused_until }) => {
    const paused = Boolean(paused_until) && new Date(paused_until) > new Date();
    const focused = [goOn, ...pauses].includes(state.getRootNode().activeElement);
    state.hidden = goOn.hidden = !paused;
    state.textContent = paused ? texts.pausedUntil.replace("{time}", time(paused_until)) : "";
    for (const each of pauses) each.hidden = paused;
    if (focused) (paused ? goOn : pauses[0]).focus();
  });
  const stopping = button("stop", texts.stop, () => stop());
  const row = element("div", { className: "row" }, goOn, ...pauses, stopping);
  return group("pause", texts.pauseTitle, state, row);
}
