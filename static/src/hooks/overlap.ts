// How long the secret before still counts beside a new one: the spans that the API takes, in words.

export const overlaps: [span: string, word: string][] = [['1h', 'an hour'], ['24h', 'a day'], ['168h', 'a week'], ['720h', '30 days'], ['0s', 'not at all: it leaked']];
