/* The latest alerts, and the stories that a reader does not want to hear of any more. */

import { element } from "../ui.js";
import { button, group, hint } from "./parts.js";

/** Without `save` there is nobody to mute a story for. */
export async function alertsPart({ reader, texts, time, save, updating }) {
  let alerts;
  try {
    ({ alerts } = await reader.call("GET", "alerts/recent"));
  } catch (error) {
    reader.explain(error);
    return group("alerts", texts.alertsTitle, hint(texts.alertsAway));
  }
  if (!alerts.length) return group("alerts", texts.alertsTitle, hint(texts.alertsNone));
  const items = alerts.map(({ alert, story, title, body, url, released_at }) => {
    const link = element("a", { href: /^https?:/.test(url) ? url : "/", textContent: title });
    const when = element("time", { dateTime: released_at, textContent: time(released_at) });
    const item = element("li", {}, element("p", { className: "when" }, when), link);
    if (body) item.append(hint(body));
    if (save) {
      const mute = button(`mute-${alert}`, texts.mute, () => save({ mute: story }), {
        className: "small",
        "aria-label": `${texts.mute}: ${title}`,
      });
      const note = hint(texts.muted, { className: "note" });
      item.append(mute, note);
      updating(({ muted }) => {
        const silent = muted.some((each) => each.story === story);
        const focused = mute.getRootNode().activeElement === mute;
        mute.hidden = silent;
        note.hidden = !silent;
        if (silent && focused) link.focus();
      });
    }
    return item;
  });
  return group("alerts", texts.alertsTitle, element("ul", { role: "list" }, ...items));
}

export function mutedPart({ texts, save, updating }) {
  const none = hint(texts.mutedNone, { tabIndex: -1 });
  const list = element("ul", { role: "list" });
  updating(({ muted }) => {
    const focused = list.contains(list.getRootNode().activeElement);
    none.hidden = muted.length > 0;
    list.replaceChildren(
      ...muted.map(({ story, title }) => {
        const unmute = button(`unmute-${story}`, texts.unmute, () => save({ unmute: story }), {
          className: "small",
          "aria-label": `${texts.unmute}: ${title}`,
        });
        return element(
          "li",
          { className: "between" },
          element("span", { textContent: title }),
          unmute,
        );
      }),
    );
    if (focused) (list.querySelector("button") || none).focus();
  });
  return group("muted", texts.mutedTitle, none, list);
}
