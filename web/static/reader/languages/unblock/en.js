export default {
  unblockChrome: "To allow them, click the icon to the left of the address and switch Notifications on.",
  unblockFirefox: "To allow them, click the crossed-out icon beside the address and remove the block.",
  unblockSafari: "To allow them, open Settings in the Safari menu, then Websites, Notifications, and choose Allow for this site.",
  unblockApple: "To allow them, open Settings on your device, then Notifications, and choose this app.",
  unblockAndroid: "To allow them, tap the icon beside the address, then Permissions, Notifications.",
};
