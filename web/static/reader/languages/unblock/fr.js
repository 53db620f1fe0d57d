export default {
  unblockChrome: "Pour les autoriser, cliquez sur l’icône à gauche de l’adresse et activez Notifications.",
  unblockFirefox: "Pour les autoriser, cliquez sur l’icône barrée à côté de l’adresse et levez le blocage.",
  unblockSafari: "Pour les autoriser, ouvrez Réglages dans le menu Safari, puis Sites web, Notifications, et choisissez Autoriser pour ce site.",
  unblockApple: "Pour les autoriser, ouvrez Réglages sur votre appareil, puis Notifications, et choisissez cette app.",
  unblockAndroid: "Pour les autoriser, touchez l’icône à côté de l’adresse, puis Autorisations, Notifications.",
};
