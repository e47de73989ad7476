// Icons that only these pages have, on the grid of components/icons.ts.

export const drawings = {
  pause: 'M5.5 4v8M10.5 4v8',
  play: 'M5.5 3.5v9l7-4.5z',
  replay: 'M3.5 8.5a4.5 4.5 0 1 0 1.4-3.7L3 6.5M3 3v3.5h3.5',
  save: 'M8 3v7.5M5 7.5l3 3 3-3M3 10v3h10v-3',
  send: 'M13.5 2.5 2.5 7l4.5 2 2 4.5zM7 9l6.5-6.5',
} as const;
