export default {
  unblockChrome: "Ili kuziruhusu, bofya ikoni iliyo kushoto mwa anwani kisha uwashe Arifa.",
  unblockFirefox: "Ili kuziruhusu, bofya ikoni iliyokatwa mstari kando ya anwani kisha uondoe kizuizi.",
  unblockSafari: "Ili kuziruhusu, fungua Settings kwenye menyu ya Safari, kisha Websites, Notifications, na uchague Allow kwa tovuti hii.",
  unblockApple: "Ili kuziruhusu, fungua Mipangilio ya kifaa chako, kisha Arifa, na uchague programu hii.",
  unblockAndroid: "Ili kuziruhusu, gusa ikoni iliyo kando ya anwani, kisha Ruhusa, Arifa.",
};
