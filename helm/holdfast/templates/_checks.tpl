{{/*
What the API server would refuse, or accept and never run, is refused here, with the value's name.
What can be said of one value alone is in values.schema.json.
*/}}
{{- define "holdfast.checks" -}}
{{- $values := .Values -}}
{{- include "holdfast.checkNames" . -}}
{{- include "holdfast.checkPeers" . -}}
{{- include "holdfast.checkPorts" . -}}
{{- include "holdfast.checkHttp" . -}}
{{- include "holdfast.checkVolumes" . -}}
{{- include "holdfast.checkPodSecurity" . -}}
{{- include "holdfast.checkEnvironment" . -}}
{{- include "holdfast.checkResources" (list "resources" (include "holdfast.resources" . | fromYaml)) -}}
{{- if not (or (eq (include "holdfast.hasFrontends" .) "true") $values.nodes.enabled) -}}
{{- fail "replicaCount is 0, and nodes.enabled is false: the release would do nothing" -}}
{{- end -}}
{{- with $values.rollingUpdate -}}
{{- if and (has (toString .maxSurge) (list "0" "0%")) (has (toString .maxUnavailable) (list "0" "0%")) -}}
{{- fail "rollingUpdate.maxSurge and rollingUpdate.maxUnavailable are both 0: no roll-out could begin" -}}
{{- end -}}
{{- end -}}
{{- with $values.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas is %d, and autoscaling.maxReplicas is %d, which is less" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- if and .enabled (not ($values.resources.requests | default dict).cpu) -}}
{{- fail "autoscaling.enabled needs resources.requests.cpu: autoscaling.targetCPUUtilizationPercentage is a share of it" -}}
{{- end -}}
{{- end -}}
{{- with $values.monitoring -}}
{{- if and .podMonitor.enabled .serviceMonitor.enabled -}}
{{- fail "set only one of monitoring.podMonitor.enabled and monitoring.serviceMonitor.enabled: with both, each frontend would be scraped twice" -}}
{{- end -}}
{{- end -}}
{{- if $values.certificates.enabled -}}
{{- if not $values.certificates.issuerRef.name -}}
{{- fail "certificates.enabled needs certificates.issuerRef.name: the issuer that makes the certificates" -}}
{{- end -}}
{{- $secret := $values.listener.tls.existingSecret -}}
{{- if or (ne $secret.certKey "tls.crt") (ne $secret.keyKey "tls.key") (not (has $secret.clientCaKey (list "" "ca.crt"))) -}}
{{- fail "certificates.enabled needs the keys of cert-manager's Secrets in listener.tls.existingSecret: certKey tls.crt, keyKey tls.key, clientCaKey ca.crt or empty" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels and annotations that the chart sets itself. */}}
{{- define "holdfast.checkNames" -}}
{{- $own := include "holdfast.labels" . | fromYaml -}}
{{- $given := dict "podLabels" .Values.podLabels -}}
{{- range list "podMonitor" "serviceMonitor" "rules" "dashboards" -}}
{{- $_ := set $given (printf "monitoring.%s.labels" .) (get $.Values.monitoring .).labels -}}
{{- end -}}
{{- range $path, $labels := $given -}}
{{- range $name, $_ := $labels -}}
{{- if hasKey $own $name -}}
{{- fail (printf "%s has %s, a label that the chart sets itself, and by which its objects find each other" $path $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $given "nodeSelector" .Values.nodeSelector -}}
{{- $_ := set $given "podAnnotations" .Values.podAnnotations -}}
{{- $_ := set $given "service.annotations" .Values.service.annotations -}}
{{- $_ := set $given "serviceAccount.annotations" .Values.serviceAccount.annotations -}}
{{- range $component := list "gc" "scrub" "expire" "test" -}}
{{- $values := get $.Values $component -}}
{{- $_ := set $given (printf "%s.nodeSelector" $component) $values.nodeSelector -}}
{{- $_ := set $given (printf "%s.serviceAccount.annotations" $component) $values.serviceAccount.annotations -}}
{{- end -}}
{{- range $path, $names := $given -}}
{{- range $name, $_ := $names -}}
{{- if not (regexMatch "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$" $name) -}}
{{- fail (printf "%s has the name %q: names have letters, digits, hyphens, dots and underscores, and perhaps a domain and a slash before them" $path $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.checkPorts" -}}
{{- if eq (int .Values.service.port) (int .Values.http.port) -}}
{{- fail (printf "service.port and http.port are both %d: a Service has each port once" (int .Values.service.port)) -}}
{{- end -}}
{{- $names := list "grpc" "http" -}}
{{- $numbers := list (int .Values.listener.port) (int .Values.http.port) -}}
{{- range .Values.extraContainers -}}
{{- $container := .name -}}
{{- range .ports -}}
{{- if or (has .name $names) (has (int .containerPort) $numbers) -}}
{{- fail (printf "extraContainers: the port %s (%d) of %s is another container's, too" (default "without a name" .name) (int .containerPort) $container) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $numbers = append $numbers (int .containerPort) -}}
{{- end -}}
{{- end -}}
{{- $target := .Values.service.targetPort -}}
{{- if or (eq $target "http") (not (has $target $names)) -}}
{{- fail (printf "service.targetPort is %q, and no container has a port of that name for gRPC: name one of extraContainers' ports, or grpc" $target) -}}
{{- end -}}
{{- end -}}

{{/* The components that have settings and credentials, as JSON. */}}
{{- define "holdfast.programs" -}}
{{- $found := list -}}
{{- if eq (include "holdfast.hasFrontends" .) "true" -}}
{{- $found = append $found "frontend" -}}
{{- end -}}
{{- range list "gc" "scrub" "expire" -}}
{{- if (get $.Values .).enabled -}}
{{- $found = append $found . -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "holdfast.checkEnvironment" -}}
{{- $seen := dict -}}
{{- range .Values.extraEnv -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "extraEnv has %s twice" .name) -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- $own := dict -}}
{{- range $component := include "holdfast.programs" . | fromJsonArray -}}
{{- $made := include "holdfast.environment" (list $ $component) | fromYaml -}}
{{- $names := list -}}
{{- range $made.env -}}
{{- if has .name $names -}}
{{- fail (printf "extraEnv has %s, which the chart sets itself, from s3, redis or extraCAs" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The number in a quantity such as 1.5Gi or 250m. */}}
{{- define "holdfast.quantity" -}}
{{- $text := toString . -}}
{{- $factors := dict "m" 0.001 "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- mulf (float64 (regexFind "^[0-9.]+" $text)) (float64 (get $factors (regexFind "[a-zA-Z]*$" $text))) -}}
{{- end -}}

{{/* Refuses requests above their limits, from (list PATH RESOURCES). */}}
{{- define "holdfast.checkResources" -}}
{{- $path := index . 0 -}}
{{- $limits := (index . 1).limits | default dict -}}
{{- range $name, $asked := (index . 1).requests -}}
{{- $limit := get $limits $name -}}
{{- if and $asked $limit (gt (float64 (include "holdfast.quantity" $asked)) (float64 (include "holdfast.quantity" $limit))) -}}
{{- fail (printf "%s: the request of %v %s is above the limit of %v. If the values don't set one of them, it follows from settings.bufferBudget, cacheBudget, listBudget and maxReads" $path $asked $name $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
