package main

import (
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/tunnelhub"
)

// streamOpened has the event log tell of streams without waiting for it.
func (h *hub) streamOpened(i tunnelhub.Info) (closed func(in, out int64, cause error)) {
	return h.noted.Opened(events.Stream{Number: i.ID, Device: i.Device, User: i.User, Target: string(i.Target), Via: i.Via, From: i.From,
		Shell: i.Shell, Login: i.Login})
}

func hubEvent(kind string) events.Event {
	return events.Event{Type: kind, Data: events.Data{"version": command.Version()}}
}
