package outgoing

func asChild() bool { return false }
