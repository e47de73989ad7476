package store

// Each makes the rows of one query those of another that has the same columns. err is passed on.
func Each[From, To any](rows []From, err error, convert func(From) To) ([]To, error) {
	out := make([]To, 0, len(rows))
	for _, row := range rows {
		out = append(out, convert(row))
	}
	return out, err
}
