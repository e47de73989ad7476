/** Puts text on the clipboard. False where the browser refuses: no secure context, or no gesture of the person. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
