package handlers

import "testing"

func TestRetention(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var kept Retention
	r.call("admin", "GET", v1("retention"), nil, 200, &kept)
	if kept.EventsDays != 90 || kept.MaxBytes != 256<<20 {
		t.Errorf("at first %+v", kept)
	}
	kept.EventsDays = 400
	r.call("admin", "PUT", v1("retention"), kept, 200, nil)
	kept.EventsDays = 0
	r.call("admin", "GET", v1("retention"), nil, 200, &kept)
	if kept.EventsDays != 400 {
		t.Errorf("then %+v", kept)
	}
	if all, _ := r.pages("admin", "type=hub.retention_changed"); len(all) != 1 || all[0].Data["events_days"] != 400.0 {
		t.Errorf("%+v", all)
	}
}
