// Places in a text: the service counts characters (code points), JavaScript units of UTF-16.

/** Units before the character `point`. */
export function unitsOf(text, point) {
  let units = 0;
  for (const letter of text) {
    if (point-- <= 0) break;
    units += letter.length;
  }
  return units;
}

/** Characters before the unit `unit`; inside a pair of units, those before the pair. */
export function pointsOf(text, unit) {
  let points = 0;
  let at = 0;
  for (const letter of text) {
    at += letter.length;
    if (at > unit) break;
    points += 1;
  }
  return points;
}

/** A piece of a text by its characters. */
export const piece = (text, start, end) => text.slice(unitsOf(text, start), unitsOf(text, end));

/** What is selected inside `place`, as [start, end] in characters without blanks around it; null where nothing is. */
export function selectedIn(place, text) {
  const selection = getSelection();
  if (!selection.rangeCount || !place.contains(selection.anchorNode) || !place.contains(selection.focusNode)) return null;
  const range = selection.getRangeAt(0);
  const before = document.createRange();
  before.selectNodeContents(place);
  before.setEnd(range.startContainer, range.startOffset);
  return trimmed(text, before.toString().length, before.toString().length + range.toString().length);
}

/** [start, end] in characters of units, without the blanks around it. */
export function trimmed(text, start, end) {
  const inner = text.slice(start, end);
  const from = inner.trim() ? start + inner.length - inner.trimStart().length : start;
  const to = inner.trim() ? end - inner.length + inner.trimEnd().length : start;
  const ended = pointsOf(text, to);
  return [pointsOf(text, from), unitsOf(text, ended) < to ? ended + 1 : ended];
}

/** Put the cursor before the character `point` of what `place` holds. */
export function cursorAt(place, text, point) {
  let left = unitsOf(text, point);
  const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (left <= node.length) {
      getSelection().collapse(node, left);
      return;
    }
    left -= node.length;
  }
}
