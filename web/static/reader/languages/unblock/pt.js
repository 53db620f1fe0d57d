export default {
  unblockChrome: "Para permitir, clique no ícone à esquerda do endereço e ative Notificações.",
  unblockFirefox: "Para permitir, clique no ícone riscado ao lado do endereço e remova o bloqueio.",
  unblockSafari: "Para permitir, abra Ajustes no menu Safari, depois Sites, Notificações, e escolha Permitir para este site.",
  unblockApple: "Para permitir, abra Ajustes no seu aparelho, depois Notificações, e escolha este app.",
  unblockAndroid: "Para permitir, toque no ícone ao lado do endereço e depois em Permissões, Notificações.",
};
