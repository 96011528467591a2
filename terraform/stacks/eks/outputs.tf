output "kubeconfig" {
  description = "The command that makes its kube context."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${aws_eks_cluster.this.name}"
}

output "gateway" {
  description = "The Gateway, as spec.cluster.gateway of a ModelService names it."
  value       = module.platform.gateway
}
