// Whether a host is one that only its own machine or network reaches.

const names = /(^|\.)(localhost|local|internal|lan|home\.arpa)$|^[^.:]+$/; // a name without a dot is no public one
const v4 = /^(0|10|127)\.|^192\.168\.|^169\.254\.|^172\.(1[6-9]|2\d|3[01])\.|^100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./;
const v6 = /^\[(::1?\]|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:)/;

/** `host` as a URL has it in hostname. */
export function privateHost(host: string): boolean {
  return /^[\d.]+$/.test(host) ? v4.test(host) : host.startsWith('[') ? v6.test(host) : names.test(host);
}
