export default {
  unblockChrome: "Para permitirlas, haz clic en el icono a la izquierda de la dirección y activa Notificaciones.",
  unblockFirefox: "Para permitirlas, haz clic en el icono tachado junto a la dirección y quita el bloqueo.",
  unblockSafari: "Para permitirlas, abre Ajustes en el menú Safari, luego Sitios web, Notificaciones, y elige Permitir para este sitio.",
  unblockApple: "Para permitirlas, abre Ajustes en tu dispositivo, luego Notificaciones, y elige esta app.",
  unblockAndroid: "Para permitirlas, toca el icono junto a la dirección y luego Permisos, Notificaciones.",
};
