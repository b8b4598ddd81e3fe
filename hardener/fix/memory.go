package fix

import corev1 "k8s.io/api/core/v1"

// memory holds what one plan has read already. Every finding about a component
// starts from the same file and often ends with the same bytes, and reading is
// most of the work of a plan. A nil memory remembers nothing.
type memory struct {
	documents map[string]*document // by content; documents never change
	pods      map[string]*corev1.Pod
	lines     map[string][]string // of a diff
}

func newMemory() *memory {
	return &memory{documents: map[string]*document{}, pods: map[string]*corev1.Pod{}, lines: map[string][]string{}}
}

func (m *memory) document(data []byte) (*document, error) {
	if m == nil {
		return readDocument(data)
	}
	if d, ok := m.documents[string(data)]; ok {
		return d, nil
	}
	d, err := readDocument(data)
	if err != nil {
		return nil, err
	}
	d.known = m
	m.documents[string(data)] = d
	return d, nil
}

// pod is a copy, which the caller may change.
func (m *memory) pod(data []byte) (*corev1.Pod, error) {
	if m == nil {
		return decodePod(data)
	}
	if p, ok := m.pods[string(data)]; ok {
		return p.DeepCopy(), nil
	}
	p, err := decodePod(data)
	if err != nil {
		return nil, err
	}
	m.pods[string(data)] = p
	return p.DeepCopy(), nil
}
