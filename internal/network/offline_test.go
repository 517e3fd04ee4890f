package network

import "testing"

func TestDefaultRoute(t *testing.T) {
	const head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	for table, want := range map[string]bool{
		"":   false,
		head: false,
		head + "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n": false,
		head + "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n": true,
		head + "*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0\n":    false,
	} {
		if got := hasDefault4(table); got != want {
			t.Errorf("%q: %v", table, got)
		}
	}
	const zero = "00000000000000000000000000000000"
	for table, want := range map[string]bool{
		"": false,
		zero + " 00 " + zero + " 00 " + zero + " ffffffff 00000001 00000000 00200200 lo\n":                       false,
		zero + " 00 " + zero + " 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n": true,
		"fe80" + zero[4:] + " 40 " + zero + " 00 " + zero + " 00000100 00000001 00000000 00000001     eth0\n":    false,
	} {
		if got := hasDefault6(table); got != want {
			t.Errorf("%q: %v", table, got)
		}
	}
}
