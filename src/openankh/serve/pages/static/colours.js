// Colours of scores and probabilities, safe for colour-blind eyes, for light and for dark pages.
const LIGHT = [[127, 59, 8], [179, 88, 6], [224, 130, 20], [253, 184, 99], [254, 224, 182], [247, 247, 247], [209, 229, 240], [146, 197, 222], [67, 147, 195], [33, 102, 172], [5, 48, 97]];
const DARK = [[255, 205, 130], [245, 160, 70], [214, 118, 30], [150, 80, 24], [86, 54, 30], [38, 44, 47], [32, 58, 80], [38, 92, 140], [58, 138, 196], [110, 186, 230], [190, 228, 255]];
const MORE_LIGHT = [[255, 255, 255], [222, 235, 247], [158, 202, 225], [66, 146, 198], [8, 81, 156], [8, 48, 107]];
const MORE_DARK = [[27, 33, 36], [24, 52, 78], [30, 84, 134], [60, 140, 200], [140, 200, 240], [235, 246, 255]];

export const dark = matchMedia("(prefers-color-scheme: dark)");
export const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function between(stops, share) {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  return stops[low].map((value, colour) => Math.round(value + (stops[low + 1][colour] - value) * (place - low)));
}

export const diverging = (value, limit) => between(dark.matches ? DARK : LIGHT, (value / limit + 1) / 2);
export const sequential = (value) => between(dark.matches ? MORE_DARK : MORE_LIGHT, value);
