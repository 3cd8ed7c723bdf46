{{/* Bytes of a size such as 100GiB. */}}
{{- define "holdfast.bytes" -}}
{{- $letters := dict "" 0 "K" 1 "M" 2 "G" 3 "T" 4 -}}
{{- $base := ternary 1024 1000 (contains "iB" .) -}}
{{- $bytes := int64 (regexFind "^[0-9]+" .) -}}
{{- range until (int (get $letters (regexFind "[KMGT]" .))) -}}
{{- $bytes = mul $bytes $base -}}
{{- end -}}
{{- $bytes -}}
{{- end -}}
