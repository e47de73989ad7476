import './tokens.css';
import './base.css';
import './state/settings.svelte';
import { mount } from 'svelte';
import App from './app.svelte';

// A hub that was updated has other bundles: the page's old ones are gone, so it is loaded anew, once.
window.addEventListener('vite:preloadError', (event) => {
  const last = Number(sessionStorage.getItem('adit-reloaded'));
  if (Date.now() - last < 10_000) return;
  event.preventDefault();
  sessionStorage.setItem('adit-reloaded', String(Date.now()));
  window.location.reload();
});

mount(App, { target: document.getElementById('app')! });
