package bridge

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

func testQueue(t *testing.T, dir string, limits Limits) *queue {
	t.Helper()
	q, err := openQueue(dir, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.close)
	return q
}

var plenty = Limits{Messages: 10_000, Bytes: 32 << 20, Age: time.Hour}

// pushAll waits until all are on disk.
func pushAll(t *testing.T, q *queue, from, to int) {
	t.Helper()
	result := make(chan error, to-from)
	for i := from; i < to; i++ {
		q.push(&mqtt.Publish{Topic: "a", QoS: 1, Payload: fmt.Append(nil, i)}, time.Now(), 0, func(err error) { result <- err })
	}
	for range to - from {
		if err := <-result; err != nil {
			t.Fatal(err)
		}
	}
}

// take reads payloads until the queue has none that is not taken.
func take(q *queue) (items []*item, payloads []string) {
	for {
		i, p, ok := q.next()
		if !ok {
			return items, payloads
		}
		items, payloads = append(items, i), append(payloads, string(p.Payload))
	}
}

func TestQueueSurvives(t *testing.T) {
	dir := t.TempDir()
	q := testQueue(t, dir, plenty)
	pushAll(t, q, 0, 10)
	items, got := take(q)
	if fmt.Sprint(got) != "[0 1 2 3 4 5 6 7 8 9]" {
		t.Fatal(got)
	}
	for _, i := range []int{0, 1, 5} {
		q.done(items[i])
	}
	// The files as they are now, without closing anything: what `kill -9` leaves.
	again := testQueue(t, copyDir(t, dir), plenty)
	if _, got := take(again); fmt.Sprint(got) != "[2 3 4 6 7 8 9]" {
		t.Error(got)
	}
}

func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// A write that a power cut tore, and bits that flipped: what stands before is kept, what comes after is written anew. A flipped
// bit costs the message that it is in, unless it is in the length, by which the next one is found.
func TestQueueMendsItself(t *testing.T) {
	dir := t.TempDir()
	q := testQueue(t, dir, plenty)
	pushAll(t, q, 0, 5)
	q.close()
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	head := len(record{kind: recordAllMarks}.bytes())
	record := (len(whole) - head) / 5
	records := func(bytes int) int { return max(bytes-head, 0) / record }
	for cut := len(whole); cut >= 0; cut-- {
		damaged := copyDir(t, dir)
		file := filepath.Join(damaged, filepath.Base(names[0]))
		if err := os.WriteFile(file, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again := testQueue(t, damaged, plenty)
		pushAll(t, again, 7, 8)
		want := append([]string{"0", "1", "2", "3", "4"}[:records(cut)], "7")
		if _, got := take(again); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("cut at %d: %v, want %v", cut, got, want)
		}
		again.close()
	}
	for at := range whole {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 0x10
		damaged := copyDir(t, dir)
		if err := os.WriteFile(filepath.Join(damaged, filepath.Base(names[0])), flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		again := testQueue(t, damaged, plenty)
		_, got := take(again)
		inLength := at < 4 || at >= head && (at-head)%record < 4
		if lost := 5 - len(got); inLength && lost > 5-records(at) || !inLength && at < head && lost > 0 || !inLength && at >= head && lost != 1 {
			t.Errorf("flipped at %d: %v", at, got)
		}
		again.close()
	}
}

func TestQueueKeepsItsLimits(t *testing.T) {
	dir := t.TempDir()
	q := testQueue(t, dir, Limits{Messages: 10, Bytes: 1 << 20, Age: time.Hour})
	pushAll(t, q, 0, 5)
	items, _ := take(q) // on their way: those stay
	pushAll(t, q, 5, 20)
	if n, _, dropped, _ := q.state(); n != 10 || dropped != 10 {
		t.Errorf("%d kept, %d dropped", n, dropped)
	}
	if _, got := take(q); fmt.Sprint(got) != "[15 16 17 18 19]" {
		t.Error(got)
	}
	for _, i := range items {
		q.done(i)
	}
	q.push(&mqtt.Publish{Topic: "a"}, time.Now().Add(-2*time.Hour), 0, func(error) {})
	if _, got := take(q); len(got) != 0 {
		t.Errorf("too old, and sent: %v", got)
	}
	large := testQueue(t, t.TempDir(), Limits{Messages: 1000, Bytes: 3 << 20, Age: time.Hour})
	for range 100 {
		large.push(&mqtt.Publish{Topic: "a", Payload: make([]byte, 100_000)}, time.Now(), 0, func(error) {})
	}
	large.flush()
	if n, size, dropped, _ := large.state(); size > 3<<20 || n+int(dropped) != 100 || n < 25 {
		t.Errorf("%d messages, %d bytes, %d dropped", n, size, dropped)
	}
	if files, _ := filepath.Glob(filepath.Join(large.dir, "*")); len(files) > 6 {
		t.Errorf("%d files", len(files))
	}
}

// Files go when what is in them is through; notes of later ones about earlier ones are never lost by that.
func TestQueueFilesGo(t *testing.T) {
	dir := t.TempDir()
	q := testQueue(t, dir, plenty)
	for round := range 5 {
		for range 30 {
			q.push(&mqtt.Publish{Topic: "a", Payload: make([]byte, 100_000)}, time.Now(), 0, func(error) {})
		}
		q.flush()
		items, _ := take(q)
		if len(items) != 30 {
			t.Fatalf("round %d: %d", round, len(items))
		}
		for i := range items { // from the end, so that the first keeps its file
			q.done(items[len(items)-1-i])
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 2 {
		t.Errorf("%d files are left", len(files))
	}
	if _, got := take(testQueue(t, copyDir(t, dir), plenty)); len(got) != 0 {
		t.Errorf("%d messages are back", len(got))
	}
}

func TestQueueOnAFullDisk(t *testing.T) {
	q := testQueue(t, t.TempDir(), plenty)
	pushAll(t, q, 0, 1)
	_ = q.segments[0].file.Close() // every write fails from here on
	failed := make(chan error, 1)
	q.push(&mqtt.Publish{Topic: "a"}, time.Now(), 0, func(err error) { failed <- err })
	if err := <-failed; err == nil {
		t.Error("what is not on disk was said to be safe")
	}
	if _, _, _, err := q.state(); err == nil {
		t.Error("nobody is told")
	}
}
