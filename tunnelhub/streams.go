package tunnelhub

import (
	"cmp"
	"slices"
	"time"
)

// running is a stream in the list.
type running struct {
	info  Info
	bytes func() (in, out int64)
	end   func(cause error)
}

// register lists a stream until the returned function is called, which also logs its end.
func (h *Hub) register(r Request, number uint64, bytes func() (in, out int64), end func(error)) (unregister func(cause error)) {
	entry := &running{
		info:  Info{ID: number, Device: r.Device, User: r.User, Target: r.Target, Via: r.Via, From: r.From, Login: r.Login, Shell: r.Shell, Opened: h.options.Now()},
		bytes: bytes,
		end:   end,
	}
	h.mu.Lock()
	h.running[number] = entry
	h.mu.Unlock()
	log := h.options.Log.With("stream", number, "device", r.Device, "user", r.User, "target", r.Target)
	log.Info("stream opened", "via", r.Via, "from", r.From)
	closed := func(int64, int64, error) {}
	if h.options.Opened != nil {
		closed = h.options.Opened(entry.info)
	}
	return func(cause error) {
		h.mu.Lock()
		delete(h.running, number)
		h.mu.Unlock()
		in, out := bytes()
		closed(in, out, cause)
		log.Info("stream closed", "bytes_in", in, "bytes_out", out,
			"duration", h.options.Now().Sub(entry.info.Opened).Round(time.Millisecond), "cause", cause)
	}
}

// Streams lists the running streams, oldest first.
func (h *Hub) Streams() []Info {
	h.mu.Lock()
	list := make([]*running, 0, len(h.running))
	for _, r := range h.running {
		list = append(list, r)
	}
	h.mu.Unlock()
	infos := make([]Info, len(list))
	for i, r := range list {
		infos[i] = r.info
		infos[i].BytesIn, infos[i].BytesOut = r.bytes()
	}
	slices.SortFunc(infos, func(a, b Info) int { return cmp.Compare(a.ID, b.ID) })
	return infos
}

// CloseStream resets the stream with this number, with cause for both ends. It reports whether there was one. From then on
// it is in no list, though its end may take a moment.
func (h *Hub) CloseStream(number uint64, cause error) bool {
	h.mu.Lock()
	r := h.running[number]
	delete(h.running, number)
	h.mu.Unlock()
	if r == nil {
		return false
	}
	r.end(cause)
	return true
}

// CloseStreams resets every running stream for which end is true and says how many. It is how a revoked grant, token
// or user ends at once. end must not call the Hub.
func (h *Hub) CloseStreams(end func(Info) bool) int {
	h.mu.Lock()
	var matching []*running
	for _, r := range h.running {
		if end(r.info) {
			matching = append(matching, r)
		}
	}
	h.mu.Unlock()
	for _, r := range matching {
		r.end(errRevoked)
	}
	return len(matching)
}
