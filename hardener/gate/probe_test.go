package gate

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func plainServer(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// A probe is what the kubelet makes of it (pkg/probe/http/http_test.go and
// request_test.go have the same cases).
func TestReplay(t *testing.T) {
	address := plainServer(t, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
		case "/query":
			if r.URL.RawQuery != "a=b" {
				rw.WriteHeader(http.StatusBadRequest)
			}
		case "/headers":
			if r.Host != "name" || r.Header.Get("X") != "y" || r.Header.Get("Authorization") != "" || r.Header.Get("Accept-Encoding") != "" {
				t.Errorf("request with host %s, %v", r.Host, r.Header)
			}
		case "/local":
			http.Redirect(rw, r, "/ok", http.StatusFound)
		case "/local-bad":
			http.Redirect(rw, r, "/missing", http.StatusFound)
		case "/elsewhere":
			http.Redirect(rw, r, "http://nowhere.invalid/", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		default:
			rw.WriteHeader(http.StatusNotFound)
		}
	})
	host, port, _ := net.SplitHostPort(address)
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c := corev1.Container{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(number)}}}
	get := func(path string) corev1.HTTPGetAction {
		return corev1.HTTPGetAction{Path: path, Port: intstr.FromString("web")}
	}
	for name, p := range map[string]struct {
		get   corev1.HTTPGetAction
		words []string
	}{
		"answered":             {get("/ok"), nil},
		"query":                {get("/query?a=b"), nil},
		"refused":              {get("/missing"), []string{"startup probe http://" + address + "/missing is answered 404"}},
		"redirect":             {get("/local"), nil},
		"redirect to a fault":  {get("/local-bad"), []string{"404"}},
		"redirect to another":  {get("/elsewhere"), nil},
		"too slow":             {get("/slow"), []string{"deadline"}},
		"number as text":       {corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromString(port)}, nil},
		"number":               {corev1.HTTPGetAction{Path: "/ok", Port: intstr.Parse(port)}, nil},
		"own host":             {corev1.HTTPGetAction{Path: "/ok", Host: "127.0.0.2", Port: intstr.Parse(port)}, []string{"127.0.0.2", "refused"}},
		"unknown name":         {corev1.HTTPGetAction{Port: intstr.FromString("x")}, []string{`no port named "x"`}},
		"TLS, which it is not": {corev1.HTTPGetAction{Path: "/ok", Port: intstr.Parse(port), Scheme: "HTTPS"}, []string{"https://"}},
		"headers": {corev1.HTTPGetAction{Path: "/headers", Port: intstr.Parse(port),
			HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "name"}, {Name: "X", Value: "y"}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &p.get}}
			wants(t, replay(t.Context(), namedProbe{"startup", probe}, c, host), p.words...)
		})
	}
	tcp := func(port int) error {
		probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(port))}}}
		return replay(t.Context(), namedProbe{"liveness", probe}, c, host)
	}
	wants(t, tcp(number))
	wants(t, tcp(1), "refused")
	command := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}}
	if err := replay(t.Context(), namedProbe{"liveness", command}, c, host); !errors.Is(err, errNotReplayed) {
		t.Errorf("a command: %v", err)
	}
}
