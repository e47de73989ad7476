package stream

// Chunks hold what was sent and is not acknowledged. The first is small: most streams are a person typing.
const (
	firstChunk = 4 << 10
	chunkSize  = 32 << 10
	leastSpace = 4 << 10 // a chunk with less room than this is full
)

// retained is the tail of one direction: the bytes from released to end, in chunks that are filled in place, sent from
// in place, and used again once they are acknowledged.
type retained struct {
	chunks   []chunk
	spare    [][]byte
	released int64
	end      int64
}

type chunk struct {
	start int64
	buf   []byte
}

func (c chunk) end() int64 { return c.start + int64(len(c.buf)) }

// space is room for at least one more byte. Fill it from the start, then commit.
func (r *retained) space() []byte {
	if last := len(r.chunks) - 1; last >= 0 {
		c := &r.chunks[last]
		if r.released == r.end {
			c.start, c.buf = r.end, c.buf[:0]
		}
		if free := c.buf[len(c.buf):cap(c.buf)]; len(free) >= min(leastSpace, cap(c.buf)) {
			return free
		}
	}
	c := chunk{start: r.end, buf: r.fresh()}
	r.chunks = append(r.chunks, c)
	return c.buf[:cap(c.buf)]
}

func (r *retained) fresh() []byte {
	if n := len(r.spare); n > 0 {
		buf := r.spare[n-1]
		r.spare = r.spare[:n-1]
		return buf[:0]
	}
	if r.end < firstChunk {
		return make([]byte, 0, firstChunk)
	}
	return make([]byte, 0, chunkSize)
}

// commit says that n bytes of the last space are filled.
func (r *retained) commit(n int) {
	c := &r.chunks[len(r.chunks)-1]
	c.buf = c.buf[:len(c.buf)+n]
	r.end += int64(n)
}

// from is what of one chunk starts at offset at; empty at the end.
func (r *retained) from(at int64) []byte {
	for i := len(r.chunks) - 1; i >= 0; i-- {
		if c := r.chunks[i]; c.start <= at {
			return c.buf[at-c.start:]
		}
	}
	return nil
}

// release gives up what lies before to. The last chunk stays: someone may be filling it.
func (r *retained) release(to int64) {
	r.released = max(r.released, to)
	n := 0
	for n < len(r.chunks)-1 && r.chunks[n].end() <= to {
		if cap(r.chunks[n].buf) == chunkSize {
			r.spare = append(r.spare, r.chunks[n].buf)
		}
		n++
	}
	r.chunks = append(r.chunks[:0], r.chunks[n:]...)
}
