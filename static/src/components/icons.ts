// Icons as stroked paths on a 16 × 16 grid. Every page loads these: what only some pages draw stands beside them.

export const icons = {
  add: 'M8 3v10M3 8h10',
  back: 'M10 3 5 8l5 5',
  check: 'M3 8.5 6.5 12 13 4.5',
  close: 'M4 4l8 8M12 4l-8 8',
  copy: 'M5.5 5.5V3h7.5v7.5h-2.5M3 5.5h7.5V13H3z',
  device: 'M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01',
  mqtt: 'M3 13h.01M3 8.5A4.5 4.5 0 0 1 7.5 13M3 3.5a9.5 9.5 0 0 1 9.5 9.5',
  rows: 'M2.5 4h11M2.5 8h11M2.5 12h11',
  search: 'M7 3a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM10 10l3.5 3.5',
  settings: 'M2.5 5h5M10.5 5h3M9 3.5v3M2.5 11h3M8.5 11h5M7 9.5v3',
  streams: 'M2 5.5h11M10 2.5l3 3M14 10.5H3M6 13.5l-3-3',
  terminal: 'M2.5 3h11v10h-11zM5 6l2 2-2 2M8.5 10H11',
  trash: 'M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.5 8.5h6l.5-8.5',
  webhooks: 'M6.2 6.5a3 3 0 1 1 4.3-.4L13 10.5a2 2 0 1 1-1.7 1M5.5 11h5.3',
  warning: 'M8 2.5 14 13H2zM8 6.5v3M8 11.3h.01',
} as const;

export type IconName = keyof typeof icons;
