/* The language of the page, as the service takes it. */

const LONGEST = 35;

/** A BCP 47 tag; undefined if neither page nor browser has one. Pages say `en_US` and worse. */
export function pageLanguage() {
  const named = [document.documentElement.lang, ...navigator.languages];
  const tags = named.map((tag) => tag.trim().replaceAll("_", "-"));
  return tags.find((tag) => tag.length <= LONGEST && /^[a-z]{1,8}(-[a-z\d]{1,8})*$/i.test(tag));
}
