// Package ring keeps the last bytes of a numbered stream, so that a reader which lost its connection can go on at the
// byte where it was.
package ring

// Ring holds the newest bytes of a stream whose bytes are numbered from 0. Its memory grows with what it holds, up to
// the limit. It is not safe for concurrent use.
type Ring struct {
	limit int
	next  int64
	held  int
	buf   []byte // byte number n lies at n % len(buf)
}

const smallest = 4 << 10

// New makes a ring that keeps the last limit bytes of a stream whose first byte has the number first.
func New(limit int, first int64) *Ring { return &Ring{limit: limit, next: first} }

// Next is the number that the next byte written will have.
func (r *Ring) Next() int64 { return r.next }

// Oldest is the number of the oldest byte held; Next where none is.
func (r *Ring) Oldest() int64 { return r.next - int64(r.held) }

// Write appends p to the stream. It never fails.
func (r *Ring) Write(p []byte) (int, error) {
	n := len(p)
	if skip := n - r.limit; skip > 0 {
		r.next += int64(skip)
		r.held = 0
		p = p[skip:]
	}
	r.grow(len(p))
	for len(p) > 0 {
		c := copy(r.buf[r.next%int64(len(r.buf)):], p)
		r.next += int64(c)
		r.held += c
		p = p[c:]
	}
	r.held = min(r.held, len(r.buf))
	return n, nil
}

// Read copies bytes from number from on into p and says how many. It gives 0 for numbers not held.
func (r *Ring) Read(p []byte, from int64) int {
	if from < r.Oldest() || from >= r.next {
		return 0
	}
	p = p[:min(int64(len(p)), r.next-from)]
	n := 0
	for n < len(p) {
		n += copy(p[n:], r.buf[(from+int64(n))%int64(len(r.buf)):])
	}
	return n
}

// grow makes room for extra bytes more, as far as the limit goes.
func (r *Ring) grow(extra int) {
	want := min(r.held+extra, r.limit)
	if want <= len(r.buf) {
		return
	}
	size := max(len(r.buf), min(smallest, r.limit))
	for size < want {
		size = min(size*2, r.limit)
	}
	old := make([]byte, r.held)
	r.Read(old, r.Oldest())
	r.buf = make([]byte, size)
	at := r.Oldest()
	for len(old) > 0 {
		c := copy(r.buf[at%int64(size):], old)
		at += int64(c)
		old = old[c:]
	}
}
