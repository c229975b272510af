// How far a result is, asked again and again; the page comes anew when it is there. It outlives a server's restart.
const place = document.getElementById("working").dataset.state;
const bar = document.getElementById("bar");
const what = document.getElementById("what");
const count = document.getElementById("count");
const lost = document.getElementById("lost");
let wait = 300;

async function look() {
  try {
    const answer = await fetch(place, { headers: { accept: "application/json" }, cache: "no-store" });
    if (answer.status !== 202) return location.replace(location.href);
    const standing = await answer.json();
    if (standing.state !== "waiting" && standing.state !== "working") return location.replace(location.href);
    lost.hidden = true;
    bar.value = standing.share;
    document.title = `${Math.floor(100 * standing.share)} % · OpenAnkh`;
    what.textContent = standing.what.charAt(0).toUpperCase() + standing.what.slice(1);
    const words = `${standing.num_done} of ${standing.num_proteins} proteins done`;
    if (count.textContent !== words) count.textContent = words;
    wait = Math.min(wait * 1.2, 1500);
  } catch {
    lost.hidden = false;
    wait = 1000;
  }
  setTimeout(look, wait);
}
look();
