// xterm.js writes the text of <style> elements at run time, which the Content-Security-Policy forbids. Such an element
// becomes an inert one whose text goes to a constructable style sheet, which the policy allows.

let adopted = false;

/** Must run before the first Terminal is made; more often does no harm. */
export function adoptStyles(doc: Document = document): void {
  if (adopted) return;
  adopted = true;
  const create = doc.createElement.bind(doc);
  doc.createElement = ((tag: string, options?: ElementCreationOptions) =>
    tag === 'style' ? sheetElement(doc, create('meta')) : create(tag, options)) as typeof doc.createElement;
}

function sheetElement(doc: Document, element: HTMLElement): HTMLElement {
  const sheet = new CSSStyleSheet();
  doc.adoptedStyleSheets.push(sheet);
  Object.defineProperty(element, 'textContent', { set: (text: string) => sheet.replaceSync(text) });
  element.remove = () => {
    doc.adoptedStyleSheets = doc.adoptedStyleSheets.filter((other) => other !== sheet);
    Element.prototype.remove.call(element);
  };
  return element;
}
