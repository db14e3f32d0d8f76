// Making elements and changing them only where something changed. Whatever comes from outside goes
// in as text.

/** An element with a class and children; a string is a text. */
export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) {
    made.className = className;
  }
  made.append(...children);
  return made;
}

/** An element of SVG with these attributes. */
export function drawn(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

export function setClass(node, className) {
  if (node.className !== className) {
    node.className = className;
  }
}

/** Shows a sentence, or hides its element where there is none. */
export function setSentence(node, text) {
  setText(node, text);
  node.hidden = text === "";
}

/**
 * Makes the children of `parent` those of `keys`, in that order. Elements that are there already
 * are kept, and stay where they are while one of them has the focus.
 */
export function arrange(parent, known, keys, make) {
  const wanted = new Set(keys);
  for (const [key, item] of known) {
    if (!wanted.has(key)) {
      item.node.remove();
      known.delete(key);
    }
  }
  const isHeld = parent.contains(document.activeElement);
  let place = parent.firstElementChild;
  for (const key of keys) {
    let item = known.get(key);
    const isNew = item === undefined;
    if (isNew) {
      item = make(key);
      known.set(key, item);
    }
    if (item.node === place) {
      place = place.nextElementSibling;
    } else if (isNew || !isHeld) {
      parent.insertBefore(item.node, place);
    }
  }
}
