{{/* The port of a URL, from (list URL DEFAULT): what it names, or that of its scheme. */}}
{{- define "holdfast.portOf" -}}
{{- $url := urlParse (index . 0) -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- if $port -}}
{{- $port -}}
{{- else if eq $url.scheme "http" -}}
80
{{- else -}}
443
{{- end -}}
{{- end -}}

{{/*
Where a component's pods may connect, as rules of a NetworkPolicy, from (list . COMPONENT); nothing
if they may connect nowhere. What sets hosts up speaks with the host by its sockets.
*/}}
{{- define "holdfast.egress" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $egress := $root.Values.networkPolicy.egress -}}
{{- if ne $component "nodes" -}}
{{- include "holdfast.egressToBackends" . -}}
{{- end -}}
{{- $keys := and (eq $component "frontend") (contains "https://" $root.Values.identities) -}}
{{- $listed := and (eq $component "expire") $root.Values.expire.missingNodes -}}
{{- $turns := and (eq $component "nodes") (eq (include "holdfast.nodesTurns" $root) "true") -}}
{{- if or $keys $listed $turns }}
{{ include "holdfast.egressRule" (list "apiServer" $egress.apiServer.to $egress.apiServer.ports) }}
{{- end }}
{{- with $egress.extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The rules for the names' server, Redis and S3, and for traces, from (list . COMPONENT). */}}
{{- define "holdfast.egressToBackends" -}}
{{- $root := index . 0 -}}
{{- $egress := $root.Values.networkPolicy.egress -}}
{{- $s3 := include "holdfast.secretOf" (append . "s3") | fromJson -}}
{{- $s3Ports := default (list (include "holdfast.portOf" (list $root.Values.s3.endpoint) | int)) $egress.s3.ports -}}
{{- include "holdfast.egressRule" (list "dns" $egress.dns.to $egress.dns.ports (list "UDP" "TCP")) }}
{{ include "holdfast.egressRule" (list "redis" $egress.redis.to $egress.redis.ports) }}
{{ include "holdfast.egressRule" (list "s3" $egress.s3.to $s3Ports) }}
{{- if not $s3.name }}
# Without keys in a Secret, a pod's credentials come from the node, or from EKS's agent on it.
- to:
    - ipBlock: {cidr: 169.254.169.254/32}
    - ipBlock: {cidr: 169.254.170.23/32}
    - ipBlock: {cidr: "fd00:ec2::23/128"}
  ports:
    - {port: 80, protocol: TCP}
# And for a role by a token, from AWS's STS, which has no fixed address.
- ports:
    - {port: 443, protocol: TCP}
{{- end }}
{{- with $root.Values.settings.traces }}
{{ include "holdfast.egressRule" (list "traces" $egress.traces.to (default (list (include "holdfast.portOf" (list .) | int)) $egress.traces.ports)) }}
{{- end }}
{{- end -}}

{{/* One rule, from (list NAME PEERS PORTS [PROTOCOLS]): without peers, any address. */}}
{{- define "holdfast.egressRule" -}}
{{- $protocols := list "TCP" -}}
{{- if gt (len .) 3 -}}
{{- $protocols = index . 3 -}}
{{- end -}}
# {{ index . 0 }}
- ports:
    {{- range $port := index . 2 }}
    {{- range $protocols }}
    - {port: {{ int $port }}, protocol: {{ . }}}
    {{- end }}
    {{- end }}
  {{- with index . 1 }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Refuses peers that can't be: a NetworkPolicy knows addresses and pods, and no host names. */}}
{{- define "holdfast.checkPeers" -}}
{{- $policy := .Values.networkPolicy -}}
{{- $given := dict "networkPolicy.clients" $policy.clients "networkPolicy.scrapers" $policy.scrapers -}}
{{- range $name, $rule := omit $policy.egress "enabled" "extra" -}}
{{- $_ := set $given (printf "networkPolicy.egress.%s.to" $name) $rule.to -}}
{{- end -}}
{{- range $at, $rule := $policy.egress.extra -}}
{{- $_ := set $given (printf "networkPolicy.egress.extra[%d].to" $at) ($rule.to | default list) -}}
{{- end -}}
{{- range $path, $peers := $given -}}
{{- range $peers -}}
{{- if and .ipBlock (or (hasKey . "podSelector") (hasKey . "namespaceSelector")) -}}
{{- fail (printf "%s has a peer that is both an ipBlock and a selector: make it two peers" $path) -}}
{{- end -}}
{{- with .ipBlock -}}
{{- $outer := include "holdfast.checkCidr" (list $path .cidr) -}}
{{- range .except -}}
{{- $inner := include "holdfast.checkCidr" (list $path .) -}}
{{- if not (and (hasPrefix $outer $inner) (ne $outer $inner)) -}}
{{- fail (printf "%s: %s in except isn't within the ipBlock" $path .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The bits of a block of addresses, as text of 0 and 1, from (list PATH CIDR); what is no such block
is refused. Of blocks of IPv6 that aren't written out in full, only the form is checked.
*/}}
{{- define "holdfast.checkCidr" -}}
{{- $path := index . 0 -}}
{{- $text := index . 1 -}}
{{- $byte := "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])" -}}
{{- $mask := regexFind "[0-9]+$" $text | int -}}
{{- if regexMatch (printf "^%s(\\.%s){3}/(3[0-2]|[12]?[0-9])$" $byte $byte) $text -}}
{{- $bits := "4" -}}
{{- range splitList "." (regexFind "^[0-9.]+" $text) -}}
{{- $number := int . -}}
{{- range list 128 64 32 16 8 4 2 1 -}}
{{- $bits = printf "%s%d" $bits (mod (div $number .) 2) -}}
{{- end -}}
{{- end -}}
{{- $kept := substr 0 (int (add 1 $mask)) $bits -}}
{{- if contains "1" (trimPrefix $kept $bits) -}}
{{- fail (printf "%s: %s has bits beyond its mask; name the block by its first address" $path $text) -}}
{{- end -}}
{{- $kept -}}
{{- else if regexMatch "^(([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|([0-9a-f]{1,4}(:[0-9a-f]{1,4}){0,6})?::([0-9a-f]{1,4}(:[0-9a-f]{1,4}){0,6})?)/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$" $text -}}
{{- printf "6 %s" (regexFind "^[0-9a-f:]*[0-9a-f]" $text) -}}
{{- else -}}
{{- fail (printf "%s: %q is no block of addresses such as 10.0.0.0/8. A NetworkPolicy knows addresses and pods, and no host names: name the host's addresses, or leave the list empty and limit hosts by the rules of your network plugin" $path $text) -}}
{{- end -}}
{{- end -}}
