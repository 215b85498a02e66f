package keeper

// byService finds the instances of one service without a look at all others:
// an engine that has started says the output settings of every service again,
// and among thousands each look at all would cost the square of them.
type byService[T comparable] map[string]map[string]T

func (b byService[T]) add(service, instance string, x T) {
	if b[service] == nil {
		b[service] = map[string]T{}
	}
	b[service][instance] = x
}

// remove does nothing if another has taken the instance's place.
func (b byService[T]) remove(service, instance string, x T) {
	if b[service][instance] != x {
		return
	}
	if delete(b[service], instance); len(b[service]) == 0 {
		delete(b, service)
	}
}
