export default {
  unblockChrome: "Don ba da izini, ku danna alamar da ke hagu da adireshi, ku kunna Sanarwa (Notifications).",
  unblockFirefox: "Don ba da izini, ku danna alamar da aka soke a kusa da adireshi, ku cire toshewar.",
  unblockSafari: "Don ba da izini, ku buɗe Settings a menu na Safari, sai Websites, sai Notifications, ku zaɓi Allow ga wannan shafi.",
  unblockApple: "Don ba da izini, ku buɗe Settings a na’urarku, sai Notifications, ku zaɓi wannan manhaja.",
  unblockAndroid: "Don ba da izini, ku taɓa alamar da ke kusa da adireshi, sai Permissions, sai Notifications.",
};
