// The overview: another colouring as soon as it is chosen.
import { begin } from "./share.js";

begin();
const colour = document.getElementById("colour");
colour.querySelector("button").hidden = true;
document.getElementById("by").addEventListener("change", () => colour.requestSubmit());
