package drift

import "sync"

// keeper keeps a memory on disk, the newest one, beside whatever else is done: a disk
// may take a second to have written it, and no change is to wait for that.
type keeper struct {
	write func([]byte) error
	next  chan []byte // what waits, if anything

	mu  sync.Mutex
	err error // of the last that was written
}

func newKeeper(write func([]byte) error) *keeper {
	return &keeper{write: write, next: make(chan []byte, 1)}
}

// keep has a memory written, in the place of one that waits. It is for one goroutine.
func (k *keeper) keep(data []byte) {
	select {
	case <-k.next:
	default:
	}
	k.next <- data
}

// end has run return when what waits is written. Nothing is kept afterwards.
func (k *keeper) end() { close(k.next) }

// run writes until the end.
func (k *keeper) run() {
	for data := range k.next {
		err := k.write(data)
		k.mu.Lock()
		k.err = err
		k.mu.Unlock()
	}
}

// failed is why the last that was written was not, nil when it was.
func (k *keeper) failed() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}
