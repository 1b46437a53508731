// A sentence that stands below an element while it has the pointer, or the focus of the keyboard.

const tip = document.getElementById("tip");
let tipped = null;

// described: the id of the same sentence in a list, for a screen reader.
function explained(element, sentence, described) {
  element.setAttribute("aria-describedby", described);
  const show = () => {
    tip.textContent = sentence;
    tip.hidden = false;
    tipped = element;
    placeTip();
  };
  element.addEventListener("mouseenter", show);
  element.addEventListener("focus", () => { if (element.matches(":focus-visible")) show(); });
  element.addEventListener("mouseleave", event => {
    if (event.relatedTarget !== tip && !element.matches(":focus-visible")) hideTip();
  });
  element.addEventListener("blur", hideTip);
  // A mouse has shown it before it presses, and then wants to see the rows; a finger has not.
  element.addEventListener("click", event => { if (event.pointerType === "mouse") hideTip(); });
}

function placeTip() {
  if (!tipped) return;
  tip.style.left = "0"; // near the right edge it would be narrower, and its width is asked for
  const place = tipped.getBoundingClientRect();
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(8, Math.min(place.left, room))}px`;
  const fits = place.bottom + tip.offsetHeight <= innerHeight;
  tip.style.top = `${fits ? place.bottom : place.top - tip.offsetHeight}px`;
}

function hideTip() {
  tip.hidden = true;
  tipped = null;
}

addEventListener("keydown", event => { if (event.key === "Escape") hideTip(); });
addEventListener("scroll", placeTip, { capture: true, passive: true });
tip.addEventListener("mouseleave", hideTip);
