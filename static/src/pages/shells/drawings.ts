// Icons that only terminals have, on the grid of components/icons.ts.

export const drawings = {
  compose: 'M2.5 4.5h11v7h-11zM5 7h.01M8 7h.01M11 7h.01M5.5 9.5h5',
  down: 'M4 6l4 4 4-4',
  more: 'M3.5 7.6a.4.4 0 1 0 0 .8.4.4 0 0 0 0-.8M8 7.6a.4.4 0 1 0 0 .8.4.4 0 0 0 0-.8M12.5 7.6a.4.4 0 1 0 0 .8.4.4 0 0 0 0-.8',
  paste: 'M5.5 3.5H3.5v10h9v-10h-2M5.5 2.5h5v2.5h-5z',
  split: 'M2.5 3h11v10h-11zM8 3v10',
  splitDown: 'M2.5 3h11v10h-11zM2.5 8h11',
  up: 'M4 10l4-4 4 4',
} as const;
