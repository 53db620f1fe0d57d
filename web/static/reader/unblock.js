/* How a reader who has blocked us allows us again, browser by browser. */

export async function unblock(reader) {
  const texts = await reader.texts("unblock");
  const { standalone, userAgent } = navigator;
  if (standalone) return texts.unblockApple;
  if (/Android/.test(userAgent)) return texts.unblockAndroid;
  if (/Firefox/.test(userAgent)) return texts.unblockFirefox;
  return /Chrom/.test(userAgent) ? texts.unblockChrome : texts.unblockSafari;
}
