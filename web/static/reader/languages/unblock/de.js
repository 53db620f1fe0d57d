export default {
  unblockChrome: "So erlauben Sie sie: Klicken Sie auf das Symbol links neben der Adresse und schalten Sie Benachrichtigungen ein.",
  unblockFirefox: "So erlauben Sie sie: Klicken Sie auf das durchgestrichene Symbol neben der Adresse und heben Sie die Blockierung auf.",
  unblockSafari: "So erlauben Sie sie: Öffnen Sie im Menü Safari die Einstellungen, dann Websites, Mitteilungen, und wählen Sie für diese Website „Erlauben“.",
  unblockApple: "So erlauben Sie sie: Öffnen Sie die Einstellungen Ihres Geräts, dann Mitteilungen, und wählen Sie diese App.",
  unblockAndroid: "So erlauben Sie sie: Tippen Sie auf das Symbol neben der Adresse, dann auf Berechtigungen, Benachrichtigungen.",
};
