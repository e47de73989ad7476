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
      // The app names every chunk, so each character of a hash is sent with every page: seven is the least for more than 64 chunks.
      output: {
        entryFileNames: 'assets/[name]-[hash:7].js', chunkFileNames: 'assets/[name]-[hash:7].js', assetFileNames: 'assets/[name]-[hash:7][extname]',
        // Small ones that several pages have, as one: each chunk by itself costs two names.
        codeSplitting: {
          includeDependenciesRecursively: false,
          groups: [
            { name: 'base', test: /node_modules\/(svelte|clsx)\/|src\/(problem|backoff)\.ts/ },
            { name: 'row', test: /src\/(keys\.ts|components\/(age|status)\.)/ },
            { name: 'parts', test: /src\/components\/(block|confirm|line|tabs)\./ },
          ],
        },
      },
      // Svelte's support for custom elements defines a class when it is loaded, and so stays although nothing uses it.
      treeshake: { moduleSideEffects: (id: string) => !id.endsWith('/custom-element.js') },
    },
  },
  test: { include: ['src/**/*.test.{ts,js}'] },
} as Parameters<typeof defineConfig>[0]);
