import { span } from '../../text';

/** How long something is still good: "41 d left", "expired", "no end". */
export function expiry(time: string | undefined, now: number): string {
  if (!time) return 'no end';
  const seconds = (Date.parse(time) - now) / 1000;
  return seconds > 0 ? `${span(seconds)} left` : 'expired';
}
