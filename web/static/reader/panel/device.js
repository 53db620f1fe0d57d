/* What only this device knows: quiet hours, and the language of what we show. */

import { pageLanguage } from "../language.js";
import { element } from "../ui.js";
import { choice, group, hint } from "./parts.js";

const USUAL = { from: "22:00", to: "07:00" };
const LANGUAGES = {
  en: "English",
  fr: "Français",
  es: "Español",
  pt: "Português",
  de: "Deutsch",
  ar: "العربية",
  ha: "Hausa",
  sw: "Kiswahili",
};

export async function quietPart({ reader, texts, say }) {
  // Only Apple's phones and tablets have this property, and they ring for every notification.
  if ("standalone" in navigator) return group("quiet", texts.quietTitle, hint(texts.quietApple));
  const hours = await reader.recall("quietHours");
  const { input, label } = choice("checkbox", "quiet", texts.quietSwitch, {
    checked: Boolean(hours),
  });
  const { from, to } = hours || USUAL;
  const times = Object.entries({ from, to }).map(([name, value]) =>
    element("input", { type: "time", id: `quiet-${name}`, value, required: true }),
  );
  const row = element("div", { className: "row times", hidden: !hours });
  row.append(
    ...times.map((time, index) =>
      element("label", {}, texts[index ? "quietTo" : "quietFrom"], " ", time),
    ),
  );

  async function keep() {
    row.hidden = !input.checked;
    const [from, to] = times.map(({ value }) => value);
    if (input.checked && (!from || !to)) return;
    if (input.checked && from === to) return say(texts.quietDiffer);
    await (input.checked
      ? reader.remember("quietHours", { from, to })
      : reader.forget("quietHours"));
    say(texts.saved);
  }

  for (const each of [input, ...times]) each.onchange = () => keep().catch(reader.explain);
  return group("quiet", texts.quietTitle, label, row, hint(texts.quietHint));
}

export async function languagePart({ reader, texts, say, save, draw }) {
  const chosen = (await reader.recall("language")) || "";
  const choices = Object.entries({ "": texts.languageAuto, ...LANGUAGES }).map(([value, name]) =>
    element("option", { value, textContent: name, selected: value === chosen, lang: value }),
  );
  const select = element(
    "select",
    { id: "language", "aria-label": texts.languageTitle },
    ...choices,
  );
  select.onchange = async () => {
    const language = select.value;
    await (language ? reader.remember("language", language) : reader.forget("language"));
    if (save) await save({ language: language || pageLanguage() });
    else say(texts.saved);
    await draw();
  };
  return group("language", texts.languageTitle, select, hint(texts.languageHint));
}
