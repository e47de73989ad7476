// A person's choices for this browser. They live in localStorage and reach the other tabs by its event.

import { restore, type Choices } from './choices';

const KEY = 'adit-choices';

class Settings {
  choices = $state.raw<Choices>(restore(localStorage.getItem(KEY)));

  constructor() {
    this.show();
    window.addEventListener('storage', (event) => {
      if (event.key !== KEY) return;
      this.choices = restore(event.newValue);
      this.show();
    });
  }

  set<K extends keyof Choices>(name: K, value: Choices[K]): void {
    this.choices = { ...this.choices, [name]: value };
    localStorage.setItem(KEY, JSON.stringify(this.choices));
    this.show();
  }

  private show(): void {
    const root = document.documentElement.dataset;
    root['theme'] = this.choices.theme;
    root['density'] = this.choices.density;
  }
}

export const settings = new Settings();
