{{/* The HTTP port: its URL, its certificate, and who sees the pages for operators. */}}
{{- define "holdfast.http" -}}
{{- $http := .Values.http -}}
{{- $address := printf "%s:%d" (contains ":" .Values.listener.host | ternary "[::]" "0.0.0.0") (int $http.port) -}}
{{- $secret := $http.tls.existingSecret -}}
{{- if not $secret.name -}}
{{- $address -}}
{{- else -}}
{{- $options := printf "cert=/http-tls/%s&key=/http-tls/%s" $secret.certKey $secret.keyKey -}}
{{- if $http.operators.commonName -}}
{{- /* The kubelet's probes and Prometheus show no certificate. */ -}}
{{- $options = printf "%s&client-ca=/http-tls/%s&client-certificate=optional&cn=%s" $options $secret.clientCaKey $http.operators.commonName -}}
{{- else if $http.operators.identities -}}
{{- if $secret.clientCaKey -}}
{{- $options = printf "%s&client-ca=/http-tls/%s&client-certificate=optional" $options $secret.clientCaKey -}}
{{- end -}}
{{- $options = printf "%s&identities=1" $options -}}
{{- end -}}
{{- printf "tls://%s?%s" $address $options -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.httpMounts" -}}
{{- if .Values.http.tls.existingSecret.name }}
- name: http-tls
  mountPath: /http-tls
  readOnly: true
{{- end }}
{{- end -}}

{{- define "holdfast.httpVolumes" -}}
{{- with .Values.http.tls.existingSecret.name }}
- name: http-tls
  {{- include "holdfast.source" (dict "from" (dict "secret" .)) | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Operators prove who they are by a certificate or a token, which only TLS protects. */}}
{{- define "holdfast.checkHttp" -}}
{{- $operators := .Values.http.operators -}}
{{- $secret := .Values.http.tls.existingSecret -}}
{{- if and (or $operators.commonName $operators.identities) (not $secret.name) -}}
{{- fail "http.operators needs http.tls.existingSecret.name: operators prove who they are over TLS alone" -}}
{{- end -}}
{{- if and $operators.commonName $operators.identities -}}
{{- fail "set one of http.operators.commonName and http.operators.identities, which can have a rule for that name" -}}
{{- end -}}
{{- if and $operators.commonName (not $secret.clientCaKey) -}}
{{- fail "http.operators.commonName needs http.tls.existingSecret.clientCaKey: the issuers of operators' certificates" -}}
{{- end -}}
{{- if and $operators.identities (ne (include "holdfast.hasIdentities" .) "true") -}}
{{- fail "http.operators.identities needs rules: identities, or existingIdentities" -}}
{{- end -}}
{{- end -}}
