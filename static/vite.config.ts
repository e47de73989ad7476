import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';

/** Holds back the first paint until the script ran, so that a chosen theme never flashes the other one. */
function paintOnce(): Plugin {
  return {
    name: 'paint-once',
    transformIndexHtml: {
      order: 'post',
      handler: (html) => html.replace('<script type="module"', '<script type="module" blocking="render"'),
    },
  };
}

export default defineConfig({
  plugins: [svelte(), paintOnce()],
  build: {
    target: 'es2023',
    manifest: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 600,
    rollupOptions: {
      input: ['index.html', 'app.html'],
      // The app names every chunk, so each character of a hash is sent with every page: six tell two builds apart.
      output: { entryFileNames: 'assets/[name]-[hash:6].js', chunkFileNames: 'assets/[name]-[hash:6].js', assetFileNames: 'assets/[name]-[hash:6][extname]' },
      // Svelte's support for custom elements defines a class when it is loaded, and so stays although nothing uses it.
      treeshake: { moduleSideEffects: (id: string) => !id.endsWith('/custom-element.js') },
    },
  },
  test: { include: ['src/**/*.test.{ts,js}'] },
} as Parameters<typeof defineConfig>[0]);
